//! An agent's certificate, as an operator enrols it: its digest, and when it is valid. Nothing else
//! in it is looked at; it is known by all of its bytes.

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::{Error, Result};
use crate::time::Timestamp;
use crate::wire::messages::Certificate;
use crate::wire::text::hex;

/// DER tags (X.690), as far as the way to the validity needs them.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Reads the first certificate of a PEM text.
///
/// # Errors
/// Fails where there is none, or it says in no known way when it is valid.
pub(in crate::cli) fn read(pem: &[u8]) -> Result<Certificate> {
    let der = CertificateDer::from_pem_slice(pem)
        .map_err(|error| Error::new("it holds no certificate (PEM)").because(error))?;
    let (from, until) = validity(&der)
        .ok_or_else(|| Error::new("the certificate does not say when it is valid"))?;
    Ok(Certificate {
        sha256: hex(digest(&SHA256, &der).as_ref()),
        from,
        until,
    })
}

/// Whether a certificate is of use at `now`; gives when it will be, where that is later.
///
/// # Errors
/// It is not valid any more, or never.
pub(in crate::cli) fn valid(
    certificate: &Certificate,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let dated = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    let (from, until) = (dated(certificate.from), dated(certificate.until));
    match until < now || until < from {
        true => Err(Error::new(format!(
            "the certificate is valid from {from} to {until} only"
        ))),
        false => Ok(Some(from).filter(|from| *from > now)),
    }
}

/// `notBefore` and `notAfter` (RFC 5280, 4.1.2.5) in seconds since 1970.
fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (certificate, _) = take(der, SEQUENCE)?;
    let (tbs, _) = take(certificate, SEQUENCE)?;
    // Version (where it is said), serial number, signature algorithm, issuer; then the validity.
    let mut rest = match tbs.first() {
        Some(&VERSION) => skip(tbs)?,
        _ => tbs,
    };
    for _ in 0..3 {
        rest = skip(rest)?;
    }
    let (validity, _) = take(rest, SEQUENCE)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some((from, until))
}

/// The content of the value that `der` begins with, which has this tag, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = value(der)?;
    (found == tag).then_some((content, rest))
}

fn skip(der: &[u8]) -> Option<&[u8]> {
    value(der).map(|(_, _, rest)| rest)
}

/// Tag, content and what follows; lengths of at most three bytes.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; RFC 5280 allows no other form.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (tag, content, rest) = value(der)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let full = match tag {
        // Of 1950 to 2049.
        UTC_TIME if text.len() == 12 => {
            let century = if text < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    let time = chrono::NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%S").ok()?;
    Some((time.and_utc().timestamp(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: i32, until: i32) -> rcgen::CertificateParams {
        let mut params = rcgen::CertificateParams::new(["agent".into()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 2, 3);
        params.not_after = rcgen::date_time_ymd(until, 4, 5);
        params
    }

    #[test]
    fn digest_and_validity_are_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        for (from, until) in [(2001, 2049), (1999, 2050), (2026, 2126)] {
            let made = certificate(from, until).self_signed(&key).unwrap();
            let known = read(made.pem().as_bytes()).unwrap();
            let seconds = |year: i32, month, day| {
                let date = chrono::NaiveDate::from_ymd_opt(year, month, day).unwrap();
                date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp()
            };
            assert_eq!(known.from, seconds(from, 2, 3));
            assert_eq!(known.until, seconds(until, 4, 5));
            assert_eq!(
                known.sha256,
                hex(digest(&SHA256, made.der().as_ref()).as_ref())
            );
        }
        let error = read(key.serialize_pem().as_bytes()).unwrap_err();
        assert!(error.message().contains("holds no certificate"), "{error}");
    }

    #[test]
    fn what_is_cut_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = certificate(2026, 2027).self_signed(&key).unwrap();
        let der = made.der().as_ref();
        assert!(validity(der).is_some());
        assert!((0..der.len()).all(|length| validity(&der[..length]).is_none()));
        assert!(validity(&[0x30, 0x84, 0, 0, 0, 0]).is_none());
    }

    #[test]
    fn one_that_is_over_or_never_valid_is_of_no_use() {
        let of = |from: i64, until: i64| {
            let sha256 = String::new();
            let certificate = Certificate {
                sha256,
                from,
                until,
            };
            let now = Timestamp::from_micros(100_000_000);
            valid(&certificate, now).map(|later| later.map(Timestamp::as_micros))
        };
        assert_eq!(of(0, 100).unwrap(), None);
        assert_eq!(of(101, 200).unwrap(), Some(101_000_000));
        for (from, until) in [(0, 99), (300, 200), (i64::MAX, i64::MIN)] {
            let error = of(from, until).unwrap_err();
            assert!(error.message().contains(" only"), "{error}");
        }
    }
}
