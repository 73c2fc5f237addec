//! Where a redirect leads (RFC 9110, section 15.4), read by the tool and by egress alike.

use url::Url;

use super::{Scheme, Target, TargetFault, URL_MAX, fault};

/// The request a redirect asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Its method and URL.
    pub target: Target,
    /// The body goes along; otherwise the request has none.
    pub body: bool,
    /// To the same scheme, host and port. Elsewhere only [`super::header::travels`] headers go along.
    pub same_origin: bool,
}

impl Target {
    /// What `Location: location` in a response with `status` leads to; `None` where the status is
    /// not one that redirects.
    ///
    /// Stricter than most clients: never from `https` to `http`, and a method that may change
    /// something keeps to its origin, because it was authorised for that server only.
    pub fn redirect(&self, status: u16, location: &str) -> Option<Result<Redirect, TargetFault>> {
        let (method, body) = match (status, self.method()) {
            (303, "HEAD") => ("HEAD", false),
            (303, _) | (301 | 302, "POST") => ("GET", false),
            (301 | 302 | 307 | 308, method) => (method, true),
            _ => return None,
        };
        Some(self.resolve(location).and_then(|target| {
            let target = target.with_method(method);
            let same_origin = self.same_origin(&target);
            if self.scheme() == Scheme::Https && target.scheme() == Scheme::Http {
                return Err(fault("the redirect leads from https to http"));
            }
            if !same_origin && !matches!(method, "GET" | "HEAD") {
                return Err(fault(format!(
                    "the redirect sends `{method}` to another server"
                )));
            }
            Ok(Redirect {
                target,
                body,
                same_origin,
            })
        }))
    }

    /// A complete location is read as strictly as any URL; a relative one is resolved first.
    fn resolve(&self, location: &str) -> Result<Self, TargetFault> {
        if location.len() > URL_MAX {
            return Err(fault("the redirect's location is too long"));
        }
        if location.chars().any(|c| !c.is_ascii_graphic() || c == '\\') {
            return Err(fault("the redirect's location holds characters no url has"));
        }
        if location.starts_with("//") {
            return Self::parse(
                self.method(),
                &format!("{}:{location}", self.scheme().name()),
            );
        }
        if scheme_of(location).is_some() {
            return Self::parse(self.method(), location);
        }
        let joined = Url::parse(self.url()).and_then(|base| base.join(location));
        let joined = joined.map_err(|why| fault(format!("the redirect leads nowhere: {why}")))?;
        Self::parse(self.method(), joined.as_str())
    }
}

/// The scheme a reference begins with (RFC 3986, section 3.1).
fn scheme_of(reference: &str) -> Option<&str> {
    let (scheme, _) = reference.split_once(':')?;
    let letters = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    (letters && scheme.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(scheme)
}
