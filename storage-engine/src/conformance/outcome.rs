//! What comes of a check. Pure.

use std::error::Error;

use serde::Serialize;

use crate::device::DeviceError;

/// What came of a check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The claim holds.
    Pass,
    /// It does not.
    Fail {
        /// What was seen instead.
        reason: String,
    },
    /// It says nothing about this device or queue.
    NotApplicable {
        /// Why not.
        reason: String,
    },
}

/// How a check ends that does not pass.
#[derive(Debug)]
pub(super) enum Ending {
    Fail(String),
    NotApplicable(String),
}

/// What a check, or a part of it, gives.
pub(super) type Outcome<T = ()> = Result<T, Ending>;

/// An error that a check did not expect is a failure.
impl From<DeviceError> for Ending {
    fn from(error: DeviceError) -> Self {
        Self::Fail(format!("unexpected error: {}", with_causes(&error)))
    }
}

/// Ends the check with a failure unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::outcome::Ending::Fail(format!($($message)+)));
        }
    };
}
pub(super) use ensure;

/// Ends a check that says nothing about this device.
pub(super) fn not_applicable<T>(reason: impl Into<String>) -> Outcome<T> {
    Err(Ending::NotApplicable(reason.into()))
}

pub(super) fn verdict_of(outcome: Outcome) -> Verdict {
    match outcome {
        Ok(()) => Verdict::Pass,
        Err(Ending::Fail(reason)) => Verdict::Fail { reason },
        Err(Ending::NotApplicable(reason)) => Verdict::NotApplicable { reason },
    }
}

/// An error and all that it comes from, in one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
