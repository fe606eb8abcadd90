//! The options that Knative's pods get by their environment, if no flag is given (contract 1.5,
//! 1.7, 3.7, 5.11, 5.12). Those that locate the cluster are in `cluster`.

use super::VariableLookup;
use super::{RunOptions, environment_variable};
use crate::control::{ControlTask, ObjectSource};

/// The number of Brokers that an event may pass by default.
const MAX_TTL: i32 = 255;

/// The addresses to listen on, each `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddresses {
    /// The address of the listener for events over HTTP.
    pub http: String,
    /// The address of the listener for events over HTTPS.
    pub https: String,
    /// The address of the listener for probes, metrics and the inventory.
    pub admin: String,
}

/// A port that a variable may name.
#[derive(Clone, Copy)]
struct PortVariable {
    /// The name of the variable; `None` if no variable names the port.
    name: Option<&'static str>,
    /// The port if the variable is not set.
    default: u16,
}

impl PortVariable {
    fn read(self, variable: VariableLookup<'_>) -> Result<u16, String> {
        let written = self.name.and_then(|name| Some((name, variable(name)?)));
        written.map_or(Ok(self.default), |(name, text)| {
            parse_number(name, &text, "a port")
        })
    }
}

/// The variables of the ports of all listeners.
struct PortVariables {
    http: PortVariable,
    https: PortVariable,
    admin: PortVariable,
}

impl RunOptions {
    /// The addresses to listen on: those of the flags, else in a cluster the ports of upstream's
    /// variables, else its defaults.
    ///
    /// # Errors
    /// Fails if a variable is no port.
    pub(crate) fn listen_addresses(&self) -> Result<ListenAddresses, String> {
        self.listen_addresses_from(&environment_variable)
    }

    fn listen_addresses_from(
        &self,
        variable: VariableLookup<'_>,
    ) -> Result<ListenAddresses, String> {
        let ports = self.port_variables(variable);
        let host = if self.kubernetes {
            "0.0.0.0"
        } else {
            "127.0.0.1"
        };
        let metrics_host = variable("METRICS_PROMETHEUS_HOST").filter(|_| self.kubernetes);
        let metrics_host = metrics_host.as_deref().unwrap_or(host);
        let address = |flag: &Option<String>, host: &str, port: PortVariable| match flag {
            Some(flag) => Ok::<_, String>(flag.clone()),
            None => Ok(format!("{host}:{}", port.read(variable)?)),
        };
        Ok(ListenAddresses {
            http: address(&self.http_addr, host, ports.http)?,
            https: address(&self.https_addr, host, ports.https)?,
            admin: address(&self.admin_addr, metrics_host, ports.admin)?,
        })
    }

    /// The variables of upstream's ports, by task. Those of a dispatcher are fixed.
    fn port_variables(&self, variable: VariableLookup<'_>) -> PortVariables {
        let (http, https, admin) = match self.task_from(variable) {
            ControlTask::RelayBrokers(ObjectSource::Reconciled) => {
                (Some("INGRESS_PORT"), Some("INGRESS_PORT_HTTPS"), 9092)
            }
            ControlTask::RelayTriggers(ObjectSource::Reconciled) => {
                (Some("FILTER_PORT"), Some("FILTER_PORT_HTTPS"), 9092)
            }
            _ => (None, None, 9090),
        };
        let metrics = self.kubernetes.then_some("METRICS_PROMETHEUS_PORT");
        let port = |name, default| PortVariable { name, default };
        PortVariables {
            http: port(http, 8080),
            https: port(https, 8443),
            admin: port(metrics, admin),
        }
    }

    /// The number of Brokers that an event may pass: that of the flag, else the variable of
    /// upstream's ingress, else 255.
    ///
    /// # Errors
    /// Fails if the variable is no number above zero.
    pub(crate) fn broker_max_ttl(&self) -> Result<i32, String> {
        self.broker_max_ttl_from(&environment_variable)
    }

    fn broker_max_ttl_from(&self, variable: VariableLookup<'_>) -> Result<i32, String> {
        let told = || {
            let is_ingress =
                self.task_from(variable) == ControlTask::RelayBrokers(ObjectSource::Reconciled);
            variable("MAX_TTL").filter(|_| is_ingress)
        };
        match self.limits.broker_max_ttl {
            Some(flag) => Ok(flag),
            None => match told()
                .map(|text| parse_number::<i32>("MAX_TTL", &text, "a number above 0"))
                .transpose()?
            {
                Some(ttl) if ttl < 1 => Err(format!("MAX_TTL: {ttl} is not a number above 0")),
                told => Ok(told.unwrap_or(MAX_TTL)),
            },
        }
    }
}

fn parse_number<T: std::str::FromStr>(name: &str, text: &str, what: &str) -> Result<T, String> {
    text.trim()
        .parse()
        .map_err(|_unfit| format!("{name}: {text:?} is not {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests;

    fn run(arguments: &[&str]) -> RunOptions {
        tests::run(arguments).expect("options")
    }

    fn by<'v>(variables: &'v [(&'v str, &'v str)]) -> impl Fn(&str) -> Option<String> + 'v {
        |name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        }
    }

    /// Contract 1.7, 3.7, 5.11, 5.12; the flags go first.
    #[test]
    fn ports_are_upstreams() {
        let variables = [
            ("INGRESS_PORT", "1"),
            ("INGRESS_PORT_HTTPS", "2"),
            ("FILTER_PORT", "3"),
            ("FILTER_PORT_HTTPS", "4"),
            ("MAX_TTL", "7"),
        ];
        for (arguments, variables, addresses, ttl) in [
            (
                &["--kubernetes", "--role", "ingress"][..],
                &variables[..],
                ["0.0.0.0:1", "0.0.0.0:2", "0.0.0.0:9092"],
                7,
            ),
            (
                &["--kubernetes", "--role", "filter"],
                &variables,
                ["0.0.0.0:3", "0.0.0.0:4", "0.0.0.0:9092"],
                255,
            ),
            (
                &["--kubernetes", "--role", "filter"],
                &[],
                ["0.0.0.0:8080", "0.0.0.0:8443", "0.0.0.0:9092"],
                255,
            ),
            (
                &["--kubernetes"],
                &variables,
                ["0.0.0.0:8080", "0.0.0.0:8443", "0.0.0.0:9090"],
                255,
            ),
            (
                &["-f", "x", "--role", "ingress"],
                &variables,
                ["127.0.0.1:8080", "127.0.0.1:8443", "127.0.0.1:9090"],
                255,
            ),
        ] {
            let options = run(arguments);
            let [http, https, admin] = addresses.map(str::to_owned);
            assert_eq!(
                options.listen_addresses_from(&by(variables)),
                Ok(ListenAddresses { http, https, admin }),
                "{arguments:?}"
            );
            assert_eq!(
                options.broker_max_ttl_from(&by(variables)),
                Ok(ttl),
                "{arguments:?}"
            );
        }
        let metrics = [
            ("METRICS_PROMETHEUS_HOST", "127.0.0.1"),
            ("METRICS_PROMETHEUS_PORT", "9999"),
        ];
        for (arguments, admin) in [
            (&["--kubernetes"][..], "127.0.0.1:9999"),
            (&["-f", "x"], "127.0.0.1:9090"),
        ] {
            let addresses = run(arguments).listen_addresses_from(&by(&metrics));
            assert_eq!(
                addresses.map(|addresses| addresses.admin),
                Ok(admin.to_owned()),
                "1.6"
            );
        }
        let given = run(&[
            "--kubernetes",
            "--role",
            "ingress",
            "--http-addr",
            "a:9",
            "--broker-max-ttl",
            "3",
        ]);
        assert_eq!(
            given
                .listen_addresses_from(&by(&variables))
                .map(|addresses| addresses.http),
            Ok("a:9".to_owned())
        );
        assert_eq!(given.broker_max_ttl_from(&by(&variables)), Ok(3));
    }

    #[test]
    fn what_is_no_number_is_told() {
        let options = run(&["--kubernetes", "--role", "ingress"]);
        for text in ["", "x", "0", "-1", "99999999999"] {
            let told = options.broker_max_ttl_from(&by(&[("MAX_TTL", text)]));
            assert!(told.is_err_and(|error| error.contains("MAX_TTL")), "{text}");
        }
        let told = options.listen_addresses_from(&by(&[("INGRESS_PORT", "70000")]));
        assert!(told.is_err_and(|error| error.contains("INGRESS_PORT")));
    }
}
