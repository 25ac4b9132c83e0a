//! Sets of public keys (RFC 7517 §5), and which of their keys may have signed a token.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse, RSAKeyParameters},
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
/// Keys of one set at most. Large issuers publish about ten.
const MAX_KEYS: usize = 50;
/// The bits that the modulus of an RSA key may have. Shorter ones can be broken (RFC 7518 §3.3); longer ones take long to
/// verify with, and nobody needs them.
const RSA_MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The bits that the exponent of an RSA key may have: those of 65,537, which nearly all keys have. The time that it takes to
/// verify a signature grows with the length.
const MAX_RSA_EXPONENT_BITS: usize = 17;

/// What is to be done with keys of a set that are too weak or too expensive to verify with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnfitKeys {
    /// The whole set is refused: its author reads why.
    Refuse,
    /// They are left out, so that the issuer's other keys can be used.
    LeaveOut,
}

/// Reads a set. Keys that could not verify any token are left out, as RFC 7517 §5 asks: issuers publish keys for other
/// purposes beside them.
///
/// # Errors
///
/// Where it is no set, or nothing is left of it.
pub fn read(set: &Value, unfit: UnfitKeys) -> Result<JwkSet, String> {
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("must be a JWK set: {\"keys\": [...]}")?;
    if keys.len() > MAX_KEYS {
        return Err(format!("must not have more than {MAX_KEYS} keys"));
    }
    let understood = keys
        .iter()
        .filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok())
        .filter(|key| ALGORITHMS.iter().any(|algorithm| fits(key, *algorithm)) && DecodingKey::from_jwk(key).is_ok());
    let mut fit = Vec::new();
    let mut why = None;
    for key in understood {
        match check_bounds(&key) {
            Ok(()) => fit.push(key),
            Err(reason) => why = why.or(Some(reason)),
        }
    }
    match why {
        Some(reason) if unfit == UnfitKeys::Refuse || fit.is_empty() => Err(reason),
        _ if fit.is_empty() => Err(
            "has no key that could verify a token: a public RSA, EC (P-256, P-384) or Ed25519 key whose `use`, \
                    `key_ops` and `alg`, where it has them, are for signatures"
                .into(),
        ),
        _ => Ok(JwkSet { keys: fit }),
    }
}

/// Checks that verifying with a key is neither without worth nor long.
fn check_bounds(key: &Jwk) -> Result<(), String> {
    let AlgorithmParameters::RSA(RSAKeyParameters { n, e, .. }) = &key.algorithm else {
        return Ok(());
    };
    let named = key
        .common
        .key_id
        .as_ref()
        .map(|kid| format!(" \"{}\"", kid.escape_debug()));
    let named = named.unwrap_or_default();
    let modulus = bits(n);
    if !RSA_MODULUS_BITS.contains(&modulus) {
        let (least, most) = (RSA_MODULUS_BITS.start(), RSA_MODULUS_BITS.end());
        return Err(format!(
            "has an RSA key{named} of {modulus} bits; RSA keys must have {least} to {most} bits"
        ));
    }
    let exponent = bits(e);
    if !(2..=MAX_RSA_EXPONENT_BITS).contains(&exponent) {
        return Err(format!(
            "has an RSA key{named} with an exponent of {exponent} bits; the exponent must have 2 to \
             {MAX_RSA_EXPONENT_BITS} bits, and is 65537 as a rule"
        ));
    }
    Ok(())
}

/// The number of bits of an unsigned number as a JWK has it (RFC 7518 §2). What is no such number has none.
fn bits(number: &str) -> usize {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(number).unwrap_or_default();
    let mut significant = bytes.iter().skip_while(|byte| **byte == 0);
    let Some(first) = significant.next() else { return 0 };
    8 - first.leading_zeros() as usize + 8 * significant.count()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_without_leading_zeros() {
        for (number, expected) in [
            ("AQAB", 17),
            ("Aw", 2),
            ("AAAD", 2),
            ("_____w", 32),
            ("AA", 0),
            ("", 0),
            ("=", 0),
        ] {
            assert_eq!(bits(number), expected, "{number}");
        }
    }
}
