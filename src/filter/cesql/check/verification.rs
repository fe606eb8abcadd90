//! Calls of `KN_VERIFY_CORRELATION_ID` by their arguments.

use super::possible::Possible;
use crate::filter::cesql::ast::Expr;

const NAME: &str = "KN_VERIFY_CORRELATION_ID";

/// What is wrong with a call, and what it can become.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) possible: Possible,
}

/// Whether no id at all can be genuine for these arguments.
pub(super) fn fault(arguments: &[Expr]) -> Option<Fault> {
    let [_id, name, namespace, secret, index, replicas] = arguments else { return None };
    for (what, argument) in [("pod index", index), ("replica count", replicas)] {
        if let Expr::String(text) = argument
            && text.parse::<i32>().is_err()
        {
            let message = format!("the {what} of {NAME} is '{text}', which is no integer: write for example 1");
            return Some(Fault { message, possible: Possible::NOTHING });
        }
    }
    let texts = [("name", name), ("namespace", namespace), ("Secret", secret)];
    let found = texts.into_iter().find(|(_, argument)| matches!(argument, Expr::String(text) if text.is_empty()));
    if let Some((what, _)) = found {
        return never(&format!("the {what} of {NAME} is empty"));
    }
    match (number(index), number(replicas)) {
        (_, Some(..=0)) => never(&format!("the replica count of {NAME} is below 1")),
        (Some(index), Some(replicas)) if index < 0 || index >= replicas => {
            never(&format!("the pod index of {NAME} is {index} of {replicas} replicas, which count from 0"))
        }
        _ => None,
    }
}

/// It is understood, and false of every id.
fn never(what: &str) -> Option<Fault> {
    Some(Fault { message: format!("{what}, so that no id is genuine: correct it"), possible: Possible::NEVER })
}

fn number(argument: &Expr) -> Option<i32> {
    match argument {
        Expr::Integer(number) => Some(*number),
        Expr::String(text) => text.parse().ok(),
        Expr::Negate(inner) => number(inner)?.checked_neg(),
        _ => None,
    }
}
