//! A refused token: whether another one is worth a try, and what to tell of it in the end.

use std::sync::Arc;

use super::Client;
use crate::retry::{Attempt, ItemAnswer};
use crate::token::{CredentialFailure, Lease, TokenSource};

/// For a source that has no way to ask for claims.
const NO_CLAIMS: &str = "Graph asks for a token with further claims (the sign-in was revoked, or a policy has changed), \
     which neither a fixed token nor a callable can ask for: pass an azure-core credential, or sign in again and pass \
     the new token.";
/// For a caller that cannot meet what is asked of it.
const STILL_CHALLENGED: &str = "Graph asks for further claims again, of the very token that the credential gave for its \
     first challenge: sign in again, and if that does not help, let an administrator look at the caller's sign-in log \
     and at the Conditional Access policies that apply to it (Entra admin center).";

/// What has been tried for one request: an ordinary refusal and a challenge are good for one more attempt each.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    renewed: bool,
    answered: bool,
    has_no_claims: bool,
}

impl Client {
    /// Another token in place of one that was refused, maybe with a challenge; `None` where there is nothing to try.
    pub(super) async fn replace(
        &self,
        refused: &Lease,
        challenge: Option<&str>,
        renewals: &mut Renewals,
        source: &Arc<dyn TokenSource>,
    ) -> Result<Option<Lease>, CredentialFailure> {
        if renewals.answered {
            return Ok(None);
        }
        if let Some(claims) = challenge {
            renewals.answered = true;
            let fresh = self.tokens.answer(refused, claims, source).await?;
            renewals.has_no_claims = fresh.is_none();
            return Ok(fresh);
        }
        if renewals.renewed || !refused.renewable {
            return Ok(None);
        }
        renewals.renewed = true;
        self.tokens.renew(refused, source).await.map(Some)
    }
}

impl Renewals {
    /// Say in each refusal what the token has to do with it.
    pub(super) fn advise(&self, results: &mut [Attempt], lease: &Lease) {
        let mut known: [Option<Arc<str>>; 2] = [None, None];
        for result in results {
            let Attempt::Answered(answer) = result else { continue };
            let [unauthorized, forbidden] = &mut known;
            let (known, advice) = match answer.status {
                401 => (unauthorized, self.advice(answer, lease)),
                403 => (forbidden, lease.claims.as_ref().and_then(|claims| claims.hint())),
                _ => continue,
            };
            // The refusals of a batch have it in common.
            *known = known.take().or_else(|| advice.map(Into::into));
            if known.is_some() {
                answer.token.get_or_insert_default().advice.clone_from(known);
            }
        }
    }

    fn advice(&self, answer: &ItemAnswer, lease: &Lease) -> Option<String> {
        let is_challenged = answer.token.as_ref().is_some_and(|token| token.challenge.is_some());
        let challenged = is_challenged
            .then(|| if self.has_no_claims { NO_CLAIMS.to_owned() } else { STILL_CHALLENGED.to_owned() });
        let described = lease.claims.as_ref().map(|claims| claims.describe());
        let advice: Vec<_> = [challenged, described].into_iter().flatten().collect();
        (!advice.is_empty()).then(|| advice.join(" "))
    }
}
