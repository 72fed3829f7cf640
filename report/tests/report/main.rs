//! The report as its callers see it: from a folder of results to verdicts and pages.

mod check;
mod diverged;
mod fixture;
mod pages;
