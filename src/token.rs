//! The access token: where it comes from, how long it is kept, one refresh for all who wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Before its end a token is asked anew by this much, as azure-core does
/// (<https://learn.microsoft.com/python/api/azure-core/azure.core.credentials.accesstokeninfo>).
const MARGIN: Duration = Duration::from_secs(300);
/// How long a token of unknown life is kept. Token providers keep their own cache, so asking often is cheap.
const UNKNOWN_LIFE: Duration = Duration::from_secs(60);
/// No token lives longer (a CAE token ends after 28 hours); a larger number is a mistake of the source.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A token as a source gives it.
pub struct Token {
    /// The bearer token.
    pub secret: SecretString,
    /// When it ends, Unix seconds, where known.
    pub expires_on: Option<i64>,
    /// When the source would like to be asked again, Unix seconds, where known.
    pub refresh_on: Option<i64>,
    /// Whether asking again could give another one.
    pub renewable: bool,
}

/// The source raised, or gave nothing that could be a token.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct CredentialFailure {
    /// What went wrong and what to do. Never holds the token.
    pub message: String,
    /// What the source raised.
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The pending answer of a [`TokenSource`].
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<Token, CredentialFailure>> + Send + 'a>>;

/// Anything that can give a token.
pub trait TokenSource: Send + Sync {
    /// Ask for a token with this scope.
    fn fetch<'a>(&'a self, scope: &'a str) -> TokenFuture<'a>;
}

/// A token in use; its number tells it from the one before.
#[derive(Clone)]
pub struct Lease {
    /// The bearer token.
    pub secret: Arc<SecretString>,
    /// Whether a refused token is worth asking anew.
    pub renewable: bool,
    number: u64,
}

struct Kept {
    lease: Lease,
    /// `None` for a token that never has to be asked anew.
    fresh_until: Option<Instant>,
}

/// One token for all requests of a client.
pub struct TokenCache {
    scope: String,
    kept: Mutex<Option<Kept>>,
    /// Counts what was fetched, readable without waiting for a fetch under way.
    number: std::sync::atomic::AtomicU64,
}

impl TokenCache {
    /// An empty cache for one scope.
    pub fn new(scope: String) -> Self {
        Self { scope, kept: Mutex::new(None), number: 0.into() }
    }

    /// The kept token, or a fresh one. Of many who ask at once, one fetches and the others wait for it.
    pub async fn get(&self, source: &dyn TokenSource) -> Result<Lease, CredentialFailure> {
        let seen = self.current();
        let mut kept = self.kept.lock().await;
        if let Some(kept) = &*kept {
            // A token fetched while we waited is ours too, however short it lives.
            if kept.lease.number > seen || kept.fresh_until.is_none_or(|until| Instant::now() < until) {
                return Ok(kept.lease.clone());
            }
        }
        self.fetch(&mut kept, source).await
    }

    /// Another token in place of one that the service refused.
    pub async fn renew(&self, refused: &Lease, source: &dyn TokenSource) -> Result<Lease, CredentialFailure> {
        let mut kept = self.kept.lock().await;
        match &*kept {
            Some(kept) if kept.lease.number != refused.number => Ok(kept.lease.clone()),
            _ => self.fetch(&mut kept, source).await,
        }
    }

    fn current(&self) -> u64 {
        self.number.load(std::sync::atomic::Ordering::SeqCst)
    }

    async fn fetch(
        &self,
        kept: &mut Option<Kept>,
        source: &dyn TokenSource,
    ) -> Result<Lease, CredentialFailure> {
        let token = source.fetch(&self.scope).await?;
        let number = self.number.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        let lease = Lease { secret: Arc::new(token.secret), renewable: token.renewable, number };
        let fresh_until = token
            .renewable
            .then(|| Instant::now() + fresh_for(token.expires_on, token.refresh_on, SystemTime::now()));
        *kept = Some(Kept { lease: lease.clone(), fresh_until });
        Ok(lease)
    }
}

/// How long a token may be used before the source is asked again. The wall clock is read once, here;
/// from then on the monotonic clock counts, so a jump of the wall clock changes nothing.
fn fresh_for(expires_on: Option<i64>, refresh_on: Option<i64>, now: SystemTime) -> Duration {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let until = |unix: i64| {
        let at = Duration::from_secs(u64::try_from(unix).unwrap_or_default());
        at.saturating_sub(now).min(LONGEST_LIFE)
    };
    match (refresh_on, expires_on) {
        (None, None) => UNKNOWN_LIFE,
        (None, Some(end)) => until(end).saturating_sub(MARGIN),
        (Some(refresh), None) => until(refresh),
        (Some(refresh), Some(end)) => until(refresh).min(until(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Takes a while, counts, and gives tokens of a set life.
    struct Source {
        asked: AtomicU64,
        life: Option<i64>,
        renewable: bool,
    }

    impl TokenSource for Source {
        fn fetch<'a>(&'a self, scope: &'a str) -> TokenFuture<'a> {
            Box::pin(async move {
                assert_eq!(scope, "scope");
                tokio::time::sleep(Duration::from_millis(50)).await;
                let number = self.asked.fetch_add(1, Ordering::SeqCst);
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
                Ok(Token {
                    secret: format!("token-{number}").into(),
                    expires_on: self.life.map(|life| now + life),
                    refresh_on: None,
                    renewable: self.renewable,
                })
            })
        }
    }

    fn source(life: Option<i64>, renewable: bool) -> Arc<Source> {
        Arc::new(Source { asked: AtomicU64::new(0), life, renewable })
    }

    #[test]
    fn a_token_is_fresh_until_its_refresh_or_five_minutes_before_its_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        for (expires_on, refresh_on, seconds) in [
            (None, None, 60),
            (Some(4_600), None, 3_300),
            (Some(1_299), None, 0),
            (Some(900), None, 0),
            (Some(4_600), Some(2_800), 1_800),
            (Some(1_100), Some(2_800), 100),
            (None, Some(2_800), 1_800),
            (Some(-5), None, 0),
            (Some(i64::MAX), None, 7 * 24 * 3_600 - 300),
        ] {
            assert_eq!(
                fresh_for(expires_on, refresh_on, now).as_secs(),
                seconds,
                "{expires_on:?} {refresh_on:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_callers_share_one_fetch() {
        let (cache, source) = (Arc::new(TokenCache::new("scope".into())), source(Some(3_600), true));
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let (cache, source) = (cache.clone(), source.clone());
                tokio::spawn(async move { cache.get(&*source).await.unwrap().number })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), 1);
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn even_a_token_that_is_stale_at_once_is_shared_by_those_who_waited() {
        let (cache, source) = (Arc::new(TokenCache::new("scope".into())), source(Some(10), true));
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let (cache, source) = (cache.clone(), source.clone());
                tokio::spawn(async move { cache.get(&*source).await.unwrap().number })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        cache.get(&*source).await.unwrap();
        assert_eq!(source.asked.load(Ordering::SeqCst), 2, "the next caller asks again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_renewed_once_for_all() {
        let (cache, source) = (Arc::new(TokenCache::new("scope".into())), source(Some(3_600), true));
        let refused = cache.get(&*source).await.unwrap();
        let (first, second) = tokio::join!(cache.renew(&refused, &*source), cache.renew(&refused, &*source));
        assert_eq!((first.unwrap().number, second.unwrap().number), (2, 2));
        assert_eq!(source.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fixed_token_is_kept_and_one_of_unknown_life_is_asked_anew() {
        let (cache, fixed) = (TokenCache::new("scope".into()), source(None, false));
        let (other, provider) = (TokenCache::new("scope".into()), source(None, true));
        for _ in 0..3 {
            cache.get(&*fixed).await.unwrap();
            other.get(&*provider).await.unwrap();
            tokio::time::advance(Duration::from_secs(61)).await;
        }
        assert_eq!(fixed.asked.load(Ordering::SeqCst), 1);
        assert_eq!(provider.asked.load(Ordering::SeqCst), 3);
    }
}
