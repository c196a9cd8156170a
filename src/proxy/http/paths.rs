//! The path of a request as the listener's `normalize` wants it: put into one form before routes look at it, and refused
//! where another server could take it elsewhere. What such servers read is said by `path`.
//!
//! Hot path: one look at each byte of a path that is plain, and no allocation.

use super::http1::Reject;
use super::http1::request::Request;
use crate::config::model::{Normalize, Underscores};
use crate::path::{self, Fault, Slashes, Verdict};

/// What was made of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// It is passed on as it came, and can be read in one way only, or nobody cares.
    Plain,
    /// It is passed on as it came, and may be read in other ways.
    Other,
    /// This is asked for instead, path and query, which may be read in other ways.
    Written(String),
}

/// Puts the path of a request into the form that the listener wants.
///
/// # Errors
/// It cannot be put into it, or should have come in it.
#[inline]
pub(super) fn settle(normalize: Normalize, request: &Request<'_>) -> Result<Form, Reject> {
    if normalize == Normalize::Off || path::is_plain(request.path()) {
        return Ok(Form::Plain);
    }
    written(normalize, request.path(), request.origin_target)
}

#[cold]
fn written(normalize: Normalize, path: &[u8], target: &str) -> Result<Form, Reject> {
    if !path.starts_with(b"/") {
        // `*` is no path.
        return Ok(Form::Plain);
    }
    let slashes = if normalize == Normalize::Merge { Slashes::Merge } else { Slashes::Keep };
    let form = path::normal(path, slashes).map_err(refusal)?;
    if normalize == Normalize::Strict {
        strict(path, &form).map_err(refusal)?;
    }
    if form == path {
        return Ok(Form::Other);
    }
    let mut whole = String::with_capacity(form.len() + target.len());
    // In normal form there is nothing beyond ASCII.
    whole.push_str(&String::from_utf8_lossy(&form));
    whole.push_str(target.find('?').map_or("", |at| &target[at..]));
    Ok(Form::Written(whole))
}

fn strict(path: &[u8], form: &[u8]) -> Result<(), Fault> {
    if form != path {
        return Err(Fault::NotNormal);
    }
    if !path::is_text(form) {
        return Err(Fault::NotText);
    }
    if path::says_more(form) { Err(Fault::Ambiguous) } else { Ok(()) }
}

/// Refuses a path in normal form that leads elsewhere when it is read in another way.
///
/// # Errors
/// Some reading climbs, or leads where `leads_there` says no.
#[cold]
pub(super) fn refuse_ambiguous(path: &[u8], leads_there: impl Fn(&[u8]) -> bool) -> Result<(), Reject> {
    if !path.starts_with(b"/") {
        return Ok(());
    }
    let judge = |reading: &[u8]| if leads_there(reading) { Verdict::Same } else { Verdict::Different };
    path::readings(path, judge).map_err(refusal)
}

/// Leaves out fields whose names have underscores, where the listener wants none; says how many.
///
/// # Errors
/// There is one, and they are refused.
#[inline]
pub(super) fn judge_names(underscores: Underscores, request: &mut Request<'_>) -> Result<u64, Reject> {
    match underscores {
        Underscores::Drop => Ok(request.leave_out_underscores()),
        Underscores::Refuse if request.leave_out_underscores() > 0 => Err(Reject::Underscore),
        Underscores::Keep | Underscores::Refuse => Ok(0),
    }
}

fn refusal(fault: Fault) -> Reject {
    match fault {
        Fault::Ambiguous => Reject::AmbiguousPath,
        _ => Reject::Path,
    }
}
