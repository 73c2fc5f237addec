//! From a target to a connected socket: resolve once, check every address, dial a checked one.
//!
//! Names are resolved by hickory over the operator's resolvers; `/etc/hosts`, search domains and a
//! cache have no part in it, so that the address dialled is the one that was just checked.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::refusal::{Class, Refusal};
use crate::call::http::{Target, address};
use crate::error::{Context, Error, Result};
use crate::jail::denied::NOT_PUBLIC;

/// Addresses looked at for one name.
const ADDRESSES_MAX: usize = 16;
/// Addresses dialled for one request.
const ATTEMPTS_MAX: usize = 4;
/// Time for one connection attempt.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for one question to one resolver; asked twice.
const QUESTION: Duration = Duration::from_secs(2);

/// Resolves and connects.
#[derive(Debug)]
pub(super) struct Dialer {
    resolver: Option<TokioResolver>,
}

impl Dialer {
    /// Over `resolvers` (`IP:port`); with none, only addresses can be dialled.
    ///
    /// # Errors
    /// Fails on a resolver that is no `IP:port`.
    pub(super) fn new(resolvers: &[String]) -> Result<Self> {
        if resolvers.is_empty() {
            return Ok(Self { resolver: None });
        }
        let servers = resolvers
            .iter()
            .map(|text| server(text))
            .collect::<Result<Vec<_>>>()?;
        let config = ResolverConfig::from_name_servers(servers);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        *builder.options_mut() = options();
        let resolver = builder.build().context(|| "set up the resolver".into())?;
        Ok(Self {
            resolver: Some(resolver),
        })
    }

    /// Connects to one of the target's addresses that is public or in one of the networks
    /// `private` (CIDR); says which.
    pub(super) async fn dial(
        &self,
        target: &Target,
        private: &[String],
    ) -> Result<(TcpStream, SocketAddr), Refusal> {
        let found = self.addresses(target).await?;
        let permitted = permitted(&found, private)?;
        let mut last = String::new();
        for address in permitted.into_iter().take(ATTEMPTS_MAX) {
            let address = SocketAddr::new(address, target.port());
            last = match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Only costs latency where it fails.
                    drop(stream.set_nodelay(true));
                    return Ok((stream, address));
                }
                Ok(Err(error)) => format!("connect to {address}: {error}"),
                Err(_) => format!("connect to {address}: no answer"),
            };
        }
        Err(Refusal::new(Class::ConnectFailed, last))
    }

    async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, Refusal> {
        if let Some(address) = target.address() {
            return Ok(vec![address]);
        }
        let refusal = |why: String| {
            Refusal::new(
                Class::NameNotResolved,
                format!("resolve `{}`: {why}", target.host()),
            )
        };
        let Some(resolver) = &self.resolver else {
            return Err(refusal("no resolver is configured".into()));
        };
        // The dot makes it complete: no search domain is tried.
        let answer = resolver.lookup_ip(format!("{}.", target.host())).await;
        let answer = answer.map_err(|error| {
            refusal(if error.is_nx_domain() {
                "there is no such name".into()
            } else if error.is_no_records_found() {
                "it has no address".into()
            } else {
                error.to_string()
            })
        })?;
        let mut found: Vec<IpAddr> = Vec::new();
        for address in answer
            .iter()
            .map(|address| address.to_canonical())
            .take(ADDRESSES_MAX)
        {
            if !found.contains(&address) {
                found.push(address);
            }
        }
        if found.is_empty() {
            Err(refusal("it has no address".into()))
        } else {
            Ok(found)
        }
    }
}

/// Those of `found` that may be dialled.
fn permitted(found: &[IpAddr], private: &[String]) -> Result<Vec<IpAddr>, Refusal> {
    let mut permitted = Vec::new();
    let mut refused = Vec::new();
    for address in found {
        match address::refused(*address, private) {
            None => permitted.push(*address),
            Some(kind) => refused.push(format!("{address} is {kind}")),
        }
    }
    if permitted.is_empty() {
        let detail = format!("{}{NOT_PUBLIC}", refused.join(", "));
        return Err(Refusal::new(Class::AddressRefused, detail));
    }
    Ok(permitted)
}

fn server(text: &str) -> Result<NameServerConfig> {
    let address: SocketAddr = text.parse().map_err(|_| {
        Error::new(format!("`{}` is no resolver", text.escape_debug()))
            .hint("write it as address and port, for example `192.168.1.1:53` or `[fd00::1]:53`")
    })?;
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    Ok(NameServerConfig::new(address.ip(), true, connections))
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = QUESTION;
    options.attempts = 1;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.try_tcp_on_error = true;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options
}
