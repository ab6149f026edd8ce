//! Every method of the API, one claim at a time.

mod limits;
mod opening;
mod ranges;
mod reading;
mod writing;
