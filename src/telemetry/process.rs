//! Metrics about this process from Linux, by the names that Prometheus' clients use, and about the
//! runtime. On other systems there are none about the process. They are read when somebody asks for
//! metrics.

use std::fs;

use tokio::runtime::RuntimeMetrics;

use super::audit_file::missing_lines as missing_audit_lines;
use super::data_point::{MetricValue, float};
use super::metric_family::MetricFamily;

/// Ticks of the kernel's clock in a second, as user space sees them on every architecture that we
/// are built for.
const TICKS: f64 = 100.0;

/// Returns the families about the process, the build and the runtime.
#[must_use]
pub(crate) fn collect_families() -> Vec<MetricFamily<'static>> {
    let mut families = process_families();
    let version = [("version", env!("CARGO_PKG_VERSION").into())];
    families.push(
        MetricFamily::new("sealpost_build_info", "Which sealpost this is")
            .with_point(&version, MetricValue::Gauge(1.0)),
    );
    families.extend(runtime_families());
    families.extend(missing_audit_lines().map(|lines| {
        MetricFamily::new(
            "sealpost_audit_lines_missing",
            "Lines of the audit log that could not be written to its file",
        )
        .with_point(&[], MetricValue::Sum(lines))
    }));
    families
}

/// The files of Linux about this process.
struct ProcessFiles {
    stat: String,
    status: String,
}

impl ProcessFiles {
    fn read() -> Self {
        Self {
            stat: fs::read_to_string("/proc/self/stat").unwrap_or_default(),
            status: fs::read_to_string("/proc/self/status").unwrap_or_default(),
        }
    }
}

/// The description of a gauge about the process; its value is `None` if the system has none.
struct ProcessGauge {
    name: &'static str,
    help: &'static str,
    value: fn(&ProcessFiles) -> Option<f64>,
}

const GAUGES: [ProcessGauge; 6] = [
    ProcessGauge {
        name: "process_resident_memory_bytes",
        help: "Resident memory",
        value: |files| bytes_after(&files.status, "VmRSS:"),
    },
    ProcessGauge {
        name: "process_virtual_memory_bytes",
        help: "Virtual memory",
        value: |files| bytes_after(&files.status, "VmSize:"),
    },
    ProcessGauge {
        name: "process_open_fds",
        help: "Open file descriptors",
        value: |_files| open_descriptors(),
    },
    ProcessGauge {
        name: "process_max_fds",
        help: "File descriptors that may be open",
        value: |_files| max_descriptors(),
    },
    ProcessGauge {
        name: "process_threads",
        help: "Threads of the operating system",
        value: |files| number_after(&files.status, "Threads:"),
    },
    ProcessGauge {
        name: "process_start_time_seconds",
        help: "When the process started, since the epoch",
        value: |files| start_time(&files.stat),
    },
];

fn process_families() -> Vec<MetricFamily<'static>> {
    let files = ProcessFiles::read();
    let gauges = GAUGES.iter().filter_map(|gauge| {
        let value = MetricValue::Gauge((gauge.value)(&files)?);
        Some(MetricFamily::new(gauge.name, gauge.help).with_point(&[], value))
    });
    let cpu = MetricFamily::new("process_cpu_seconds", "Processor time of user and system");
    let cpu = cpu_time(&files.stat)
        .map(|seconds| cpu.with_point(&[], MetricValue::SumOfSeconds(seconds)));
    cpu.into_iter().chain(gauges).collect()
}

/// Returns the fields of `/proc/self/stat` from the third on: the name before them may hold
/// anything.
fn stat_fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split_ascii_whitespace()
}

/// Returns the processor time in seconds, from fields 14 and 15: in user mode, and in the kernel.
fn cpu_time(stat: &str) -> Option<f64> {
    let mut fields = stat_fields(stat).skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(float(user + system) / TICKS)
}

/// Returns the start time in seconds since the epoch. Field 22 counts ticks from the start of the
/// machine.
fn start_time(stat: &str) -> Option<f64> {
    let ticks: u64 = stat_fields(stat).nth(19)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    Some(number_after(&machine, "btime")? + float(ticks) / TICKS)
}

/// Returns the first number in the line that begins with this name.
fn number_after(text: &str, name: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

fn bytes_after(status: &str, name: &str) -> Option<f64> {
    number_after(status, name).map(|kilobytes| kilobytes * 1024.0)
}

/// Counts open descriptors, without the one by which the directory is read.
fn open_descriptors() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(float(open.saturating_sub(1) as u64))
}

/// Returns the limit of open descriptors; `None` if there is none.
fn max_descriptors() -> Option<f64> {
    number_after(
        &fs::read_to_string("/proc/self/limits").ok()?,
        "Max open files",
    )
}

/// Returns metrics about the runtime of the caller; none outside of a runtime.
fn runtime_families() -> Vec<MetricFamily<'static>> {
    let Ok(handle) = tokio::runtime::Handle::try_current() else {
        return Vec::new();
    };
    let metrics = handle.metrics();
    let gauge = |name, help, value: usize| {
        MetricFamily::new(name, help).with_point(&[], MetricValue::Gauge(float(value as u64)))
    };
    vec![
        gauge(
            "sealpost_tasks_alive",
            "Tasks of the runtime",
            metrics.num_alive_tasks(),
        ),
        gauge(
            "sealpost_tasks_queued",
            "Tasks that wait for a worker, in the queue of all",
            metrics.global_queue_depth(),
        ),
        gauge(
            "sealpost_workers",
            "Threads that run tasks",
            metrics.num_workers(),
        ),
        busy_family(&metrics),
    ]
}

fn busy_family(metrics: &RuntimeMetrics) -> MetricFamily<'static> {
    let busy = (0..metrics.num_workers())
        .map(|worker| metrics.worker_total_busy_duration(worker).as_secs_f64())
        .sum();
    MetricFamily::new(
        "sealpost_workers_busy_seconds",
        "Time that workers were busy, all together",
    )
    .with_point(&[], MetricValue::SumOfSeconds(busy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_may_hold_anything() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 17 18 1234 20";
        assert_eq!(cpu_time(stat), Some(2.0));
        assert_eq!(stat_fields(stat).nth(19), Some("1234"));
        assert_eq!((cpu_time(""), start_time("")), (None, None));
    }
}
