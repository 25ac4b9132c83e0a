//! The one door for writing: every change that a request asks for passes here.
//!
//! What every change shares is decided here and nowhere else: that it is made only if its resource is as `If-Match` says, and
//! that with an `Idempotency-Key` it is made once and answered again with what was answered then.
//!
//! An answer that is kept must be in the same transaction as its change, where other requests' changes wait behind it. So
//! what takes long to make is not made there: [`ApiCaller::write_value`] keeps what the change returned, and the answer is
//! made from it afterwards, each time.

use poem::IntoResponse;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    caller::ApiCaller,
    error::Error,
    idempotency::{Replayable, write_down},
    kept_answers::{self, KeyedChange, KeyedRefusal},
};
use crate::store::{Change, StoreError, revision::Expectation};

/// Why a change was not made, or not answered.
pub enum WriteError<R> {
    /// The change was refused.
    Refused(R),
    /// Anything else.
    Failed(Error),
}

impl<R: Into<Error>> From<WriteError<R>> for Error {
    fn from(error: WriteError<R>) -> Self {
        match error {
            WriteError::Refused(refusal) => refusal.into(),
            WriteError::Failed(error) => error,
        }
    }
}

/// What a change returned, now or when the same request was sent before.
pub struct Written<T> {
    /// What it returned.
    pub done: T,
    /// Whether that was before.
    pub replayed: bool,
}

impl ApiCaller<'_> {
    /// Carries out a change, and makes the answer of what it did.
    ///
    /// # Errors
    ///
    /// The change's own refusals; and where the `Idempotency-Key` was sent with another request.
    pub async fn write<C: Change, A: IntoResponse + 'static>(
        &self,
        change: C,
        answer: impl Fn(C::Done) -> Result<A, Error> + Send + Sync + 'static,
    ) -> Result<Replayable<A>, WriteError<C::Refusal>> {
        if self.idempotency_key.is_none() {
            let done = self.change(change).await.map_err(WriteError::Refused)?;
            return answer(done).map(Replayable::Now).map_err(WriteError::Failed);
        }
        let (bytes, replayed) = self
            .write_once(change, move |done| answer(done).and_then(write_down))
            .await?;
        Replayable::kept(&bytes, replayed).map_err(WriteError::Failed)
    }

    /// Carries out a change whose answer takes long to make, or depends on what is read afterwards.
    ///
    /// # Errors
    ///
    /// Those of [`Self::write`].
    pub async fn write_value<C: Change>(&self, change: C) -> Result<Written<C::Done>, WriteError<C::Refusal>>
    where
        C::Done: Serialize + DeserializeOwned,
    {
        if self.idempotency_key.is_none() {
            let done = self.change(change).await.map_err(WriteError::Refused)?;
            return Ok(Written { done, replayed: false });
        }
        let unreadable = |error: serde_json::Error| Error::internal(error.to_string());
        let (bytes, replayed) = self
            .write_once(change, move |done| serde_json::to_vec(&done).map_err(unreadable))
            .await?;
        let done = serde_json::from_slice(&bytes).map_err(|error| WriteError::Failed(unreadable(error)))?;
        Ok(Written { done, replayed })
    }

    /// Carries out a change of an operation without answer, or with one that nothing of the change is in. It has no
    /// `Idempotency-Key`: it can be repeated as it is.
    ///
    /// # Errors
    ///
    /// The change's own refusals.
    pub async fn change<C: Change>(&self, change: C) -> Result<C::Done, C::Refusal> {
        self.store().write_if(change, self.expected.clone()).await
    }

    /// What the request expects to find, for an operation that takes several changes: the first of them looks.
    #[must_use]
    pub fn expected(&self) -> Option<Expectation> {
        self.expected.clone()
    }

    /// Whether what a change returns is kept with it, because the request has an `Idempotency-Key`.
    #[must_use]
    pub const fn keeps_answer(&self) -> bool {
        self.idempotency_key.is_some()
    }

    /// Carries out a change, unless the same request was sent before; what is kept of it, and whether that was before.
    async fn write_once<C: Change>(
        &self,
        change: C,
        keep: impl Fn(C::Done) -> Result<Vec<u8>, Error> + Send + Sync + 'static,
    ) -> Result<(Vec<u8>, bool), WriteError<C::Refusal>> {
        let failed = |error: StoreError| WriteError::Failed(error.into());
        let Some(key) = &self.idempotency_key else {
            return Err(failed(StoreError::Fault(
                "a request without a key has nothing to keep".into(),
            )));
        };
        let principal = &self.who().principal;
        let actor = (principal.tenant, principal.actor_id.as_str());
        let request = kept_answers::Request::new(actor, key.key, self.api_key, key.fingerprint());
        let keyed = KeyedChange {
            change,
            request: request.map_err(failed)?,
            answer: keep,
        };
        match self.change(keyed).await {
            Ok(bytes) => Ok((bytes, false)),
            Err(KeyedRefusal::Before(bytes)) => Ok((bytes, true)),
            Err(KeyedRefusal::AnotherRequest) => Err(WriteError::Failed(Error::idempotency_key_reused())),
            Err(KeyedRefusal::Refused(refusal)) => Err(WriteError::Refused(refusal)),
            Err(KeyedRefusal::Unanswerable(error)) => Err(WriteError::Failed(error)),
        }
    }
}
