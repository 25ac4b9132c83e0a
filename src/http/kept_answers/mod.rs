//! Changes that are made once however often they are asked for: `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! Who has sent a change and has not read the answer cannot know whether it was made. With a key they may send it again,
//! and get the answer that they have missed.
//!
//! * **The answer is kept with the change**, in one transaction: there is no moment at which the one is there and the
//!   other is not, whenever the server dies.
//! * **Two at the same time**: the row of the key is written first, so that the second waits for the first, on whichever
//!   node, and gets its answer.
//! * **Many at the same time share statements**, where the change itself can be applied together with others: one takes
//!   all keys of a batch, one keeps all answers. Whatever is out of the ordinary (a key that somebody has already, a change
//!   that must be looked at more closely) gives its key back and is applied by itself.
//! * **A refusal is not kept.** It has changed nothing, and once its cause is mended the same request shall succeed.
//! * **Nobody else can read it.** Answers hold personal data, and some a new API key. So the answer is sealed with a key
//!   made from the `Idempotency-Key` and the caller's API key, neither of which is stored. Of a caller with a token there is
//!   only the `Idempotency-Key`, which therefore should be random.
//! * **An answer about a user is erased with them.**

mod rows;

use aka_entity::idempotency_key;
use async_trait::async_trait;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
};
use sea_orm::{ConnectionTrait as _, DatabaseBackend, EntityTrait as _, Set, Statement};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::rows::{SealedAnswer, keep_together, release_together, take_together};
use crate::{
    store::{Applied, Change, Store, StoreError, Tx, change::Outcome},
    types::ids::{TenantId, UserId},
};

/// For how long an answer is kept, in seconds.
pub const KEPT_SECONDS: i64 = 24 * 60 * 60;
/// How many are removed with one statement.
const FORGET_AT_A_TIME: u64 = 1_000;

/// SHA-256.
pub type Hash = [u8; 32];

/// The row of a key: tenant, credential, and hash of the key.
type KeyId = (Uuid, String, Vec<u8>);

/// A request that is to be carried out once.
pub struct Request {
    tenant: TenantId,
    actor_id: String,
    key_hash: Hash,
    sealing: Hash,
    fingerprint: Hash,
}

impl Request {
    /// A request with this key by a credential; of an API key, with the key itself. The fingerprint tells requests apart.
    ///
    /// # Errors
    ///
    /// Where no key can be made for sealing, for which there is no reason.
    pub fn new(
        (tenant, actor_id): (TenantId, &str),
        key: &str,
        api_key: Option<&str>,
        fingerprint: Hash,
    ) -> Result<Self, StoreError> {
        let secret = [key.as_bytes(), b"\n", api_key.unwrap_or_default().as_bytes()].concat();
        let mut sealing = Hash::default();
        // RFC 5869: what it is for is in the salt and in the info.
        Salt::new(HKDF_SHA256, tenant.0.as_bytes())
            .extract(&secret)
            .expand(&[b"aka idempotency key", actor_id.as_bytes()], HKDF_SHA256)
            .and_then(|made| made.fill(&mut sealing))
            .map_err(cannot_seal)?;
        Ok(Self {
            tenant,
            actor_id: actor_id.to_owned(),
            key_hash: Sha256::digest(key).into(),
            sealing,
            fingerprint,
        })
    }

    fn sealing(&self) -> Result<RandomizedNonceKey, Unspecified> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.sealing)
    }

    /// Only the row for which it was sealed can be opened with it.
    fn place(&self) -> Aad<Hash> {
        Aad::from(self.key_hash)
    }

    fn seal(&self, answer: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut sealed = [&self.fingerprint, answer].concat();
        let nonce = self
            .sealing()
            .and_then(|key| key.seal_in_place_append_tag(self.place(), &mut sealed))
            .map_err(cannot_seal)?;
        sealed.extend_from_slice(nonce.as_ref());
        Ok(sealed)
    }

    /// The answer that was kept. None: it is that to another request.
    fn open(&self, mut sealed: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
        let open = |sealed: &mut [u8]| {
            let (answer, nonce) = sealed.split_last_chunk_mut::<NONCE_LEN>().ok_or(Unspecified)?;
            let opened = self
                .sealing()?
                .open_in_place(Nonce::from(&*nonce), self.place(), answer)?;
            let (fingerprint, answer) = opened.split_first_chunk().ok_or(Unspecified)?;
            Ok((*fingerprint == self.fingerprint).then(|| answer.to_vec()))
        };
        open(&mut sealed).map_err(|_: Unspecified| StoreError::Fault("a kept answer cannot be opened".into()))
    }

    /// Takes the key for this request, where nobody has it. Waits for whoever is about to take it.
    async fn take(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        const TAKE: &str = "\
            INSERT INTO idempotency_keys (tenant_id, actor_id, key_hash, answer, created_at) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (tenant_id, actor_id, key_hash) DO UPDATE SET created_at = excluded.created_at
            WHERE idempotency_keys.created_at <= $6";
        let values = [
            self.tenant.into(),
            self.actor_id.as_str().into(),
            self.key_hash.to_vec().into(),
            Vec::<u8>::new().into(),
            tx.now.0.into(),
            tx.now.plus_seconds(-KEPT_SECONDS).0.into(),
        ];
        let take = Statement::from_sql_and_values(tx.db.get_database_backend(), TAKE, values);
        Ok(tx.db.execute_raw(take).await?.rows_affected() == 1)
    }

    /// Makes the erasure of a user on another node wait for this transaction, so that it finds the answer; where it has
    /// happened, there is nothing to be answered any more. SQLite has one writer at a time.
    async fn hold(&self, tx: &Tx<'_>, user: UserId) -> Result<(), StoreError> {
        const HOLD: &str = "SELECT id FROM users WHERE tenant_id = $1 AND id = $2 FOR KEY SHARE";
        if tx.db.get_database_backend() != DatabaseBackend::Postgres {
            return Ok(());
        }
        let hold = Statement::from_sql_and_values(DatabaseBackend::Postgres, HOLD, [self.tenant.into(), user.0.into()]);
        let user = tx.db.query_one_raw(hold).await?;
        user.map(|_| ())
            .ok_or_else(|| StoreError::Unavailable("the user was being erased at the same time".into()))
    }

    fn id(&self) -> KeyId {
        (self.tenant.0, self.actor_id.clone(), self.key_hash.to_vec())
    }

    async fn kept(&self, tx: &Tx<'_>) -> Result<Vec<u8>, StoreError> {
        let row = idempotency_key::Entity::find_by_id(self.id()).one(tx.db).await?;
        let row = row.ok_or_else(|| StoreError::Unavailable("a kept answer has gone this moment".into()))?;
        Ok(row.answer)
    }

    /// Keeps an answer, and whom it is about.
    async fn keep(&self, tx: &Tx<'_>, answer: &[u8], about: Option<UserId>) -> Result<(), StoreError> {
        if let Some(user) = about {
            self.hold(tx, user).await?;
        }
        let (tenant_id, actor_id, key_hash) = self.id();
        let row = idempotency_key::ActiveModel {
            tenant_id: Set(tenant_id),
            actor_id: Set(actor_id),
            key_hash: Set(key_hash),
            answer: Set(self.seal(answer)?),
            user_id: Set(about.map(|user| user.0)),
            ..Default::default()
        };
        idempotency_key::Entity::update(row).exec(tx.db).await?;
        Ok(())
    }
}

fn cannot_seal(_: Unspecified) -> StoreError {
    StoreError::Fault("an answer cannot be sealed".into())
}

/// A change that is made once.
pub struct KeyedChange<C, A> {
    /// The change.
    pub change: C,
    /// By what it is known again.
    pub request: Request,
    /// Writes the answer down.
    pub answer: A,
}

/// Why a change was not made now.
pub enum KeyedRefusal<R, E> {
    /// It was made before. This was the answer.
    Before(Vec<u8>),
    /// The key was sent with another request before.
    AnotherRequest,
    /// The change was refused.
    Refused(R),
    /// There was no writing the answer down.
    Unanswerable(E),
}

impl<R: From<StoreError>, E> From<StoreError> for KeyedRefusal<R, E> {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

#[async_trait]
impl<C, A, E> Change for KeyedChange<C, A>
where
    C: Change,
    A: Fn(C::Done) -> Result<Vec<u8>, E> + Send + Sync + 'static,
    E: Send + 'static,
{
    type Done = Vec<u8>;
    type Refusal = KeyedRefusal<C::Refusal, E>;

    const TOGETHER: bool = C::TOGETHER;

    fn tenant(&self) -> Option<TenantId> {
        self.change.tenant()
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Vec<u8>>, Self::Refusal> {
        if !self.request.take(tx).await? {
            let answer = self.request.open(self.request.kept(tx).await?)?;
            return Err(answer.map_or(KeyedRefusal::AnotherRequest, KeyedRefusal::Before));
        }
        let applied = self.change.apply(tx).await.map_err(KeyedRefusal::Refused)?;
        let applied = applied.try_map(&self.answer).map_err(KeyedRefusal::Unanswerable)?;
        self.request.keep(tx, applied.done(), self.change.about()).await?;
        Ok(applied)
    }

    async fn apply_many(changes: &[&Self], tx: &Tx<'_>) -> Result<Vec<Option<Outcome<Self>>>, StoreError> {
        if !C::TOGETHER {
            return Ok(changes.iter().map(|_| None).collect());
        }
        let requests: Vec<&Request> = changes.iter().map(|keyed| &keyed.request).collect();
        let taken = take_together(&requests, tx).await?;
        let with_key = changes.iter().zip(&taken).filter(|(_, taken)| **taken);
        let with_key: Vec<&Self> = with_key.map(|(keyed, _)| *keyed).collect();
        let to_apply: Vec<&C> = with_key.iter().map(|keyed| &keyed.change).collect();
        let applied = if to_apply.is_empty() {
            Vec::new()
        } else {
            C::apply_many(&to_apply, tx).await?
        };
        let (mut outcomes, mut answers, mut unanswered) = (Vec::new(), Vec::new(), Vec::new());
        for (keyed, outcome) in with_key.into_iter().zip(applied) {
            let request = &keyed.request;
            let outcome = match outcome {
                Some(Ok(applied)) => {
                    // The change is made by now. One by one it can be taken back.
                    let applied = applied
                        .try_map(&keyed.answer)
                        .map_err(|_| StoreError::Fault("an answer cannot be written down".into()))?;
                    answers.push(SealedAnswer {
                        request,
                        sealed: request.seal(applied.done())?,
                        about: keyed.change.about(),
                    });
                    Some(Ok(applied))
                }
                Some(Err(refusal)) => {
                    unanswered.push(request);
                    Some(Err(KeyedRefusal::Refused(refusal)))
                }
                None => {
                    unanswered.push(request);
                    None
                }
            };
            outcomes.push(outcome);
        }
        keep_together(&answers, tx).await?;
        release_together(&unanswered, tx).await?;
        let mut outcomes = outcomes.into_iter();
        let in_their_places = taken.into_iter().map(|taken| taken.then(|| outcomes.next())??);
        Ok(in_their_places.collect())
    }
}

/// Removes answers that have been kept for long enough, some of them.
struct Forget;

#[async_trait]
impl Change for Forget {
    /// Whether there may be more.
    type Done = bool;
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        None
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<bool>, StoreError> {
        const FORGET: &str = "\
            DELETE FROM idempotency_keys WHERE (tenant_id, actor_id, key_hash) IN (
                SELECT tenant_id, actor_id, key_hash FROM idempotency_keys WHERE created_at <= $1 LIMIT $2
            )";
        let limit = i64::try_from(FORGET_AT_A_TIME).unwrap_or(i64::MAX);
        let values = [tx.now.plus_seconds(-KEPT_SECONDS).0.into(), limit.into()];
        let forget = Statement::from_sql_and_values(tx.db.get_database_backend(), FORGET, values);
        let forgotten = tx.db.execute_raw(forget).await?.rows_affected();
        Ok(Applied::unchanged(forgotten == FORGET_AT_A_TIME))
    }
}

/// Removes answers that have been kept for long enough.
///
/// # Errors
///
/// [`StoreError`]
pub async fn forget(store: &Store) -> Result<(), StoreError> {
    while store.write(Forget).await? {}
    Ok(())
}
