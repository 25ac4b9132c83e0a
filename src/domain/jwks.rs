//! Sets of public keys (RFC 7517 §5), and which of their keys may have signed a token.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse},
};
use serde_json::Value;

/// The algorithms that are accepted: signatures that are verified with a public key.
pub const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// Keys of one set at most. Each may have to be tried where a token does not say which it is of.
const MAX_KEYS: usize = 100;

/// Reads a set. Keys that could not verify any token are left out, as RFC 7517 §5 asks: issuers publish keys for other
/// purposes beside them.
///
/// # Errors
///
/// Where it is no set, or nothing is left of it.
pub fn read(set: &Value) -> Result<JwkSet, String> {
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("must be a JWK set: {\"keys\": [...]}")?;
    if keys.len() > MAX_KEYS {
        return Err(format!("must not have more than {MAX_KEYS} keys"));
    }
    let keys: Vec<Jwk> = keys
        .iter()
        .filter_map(|key| serde_json::from_value(key.clone()).ok())
        .filter(|key| ALGORITHMS.iter().any(|algorithm| fits(key, *algorithm)) && DecodingKey::from_jwk(key).is_ok())
        .collect();
    if keys.is_empty() {
        return Err(
            "has no key that could verify a token: a public RSA, EC (P-256, P-384) or Ed25519 key whose `use`, \
                    `key_ops` and `alg`, where it has them, are for signatures"
                .into(),
        );
    }
    Ok(JwkSet { keys })
}

/// The keys of a set that may have signed a token.
pub fn candidates<'a>(
    keys: &'a JwkSet,
    algorithm: Algorithm,
    kid: Option<&'a str>,
) -> impl Iterator<Item = DecodingKey> + 'a {
    keys.keys
        .iter()
        .filter(move |key| kid.is_none() || key.common.key_id.as_deref() == kid)
        .filter(move |key| fits(key, algorithm))
        .filter_map(|key| DecodingKey::from_jwk(key).ok())
}

/// Whether a key is of the algorithm's kind, and not declared for another one or another purpose (RFC 7517 §4.2 to
/// §4.4).
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let kind = match &key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(
            algorithm,
            Algorithm::RS256
                | Algorithm::RS384
                | Algorithm::RS512
                | Algorithm::PS256
                | Algorithm::PS384
                | Algorithm::PS512
        ),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => algorithm == Algorithm::ES256,
            EllipticCurve::P384 => algorithm == Algorithm::ES384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(key) => algorithm == Algorithm::EdDSA && key.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    let common = &key.common;
    kind && common
        .key_algorithm
        .is_none_or(|declared| declared.to_string() == format!("{algorithm:?}"))
        && common
            .public_key_use
            .as_ref()
            .is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify))
}
