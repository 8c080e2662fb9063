//! The architecture, held by tests.
//!
//! A rule that is only written down drifts. Each file here holds one rule of `docs/ARCHITECTURE.md`
//! as a pure function from sources to violations: one test runs it over the tree, the others over
//! samples that break it, so that a rule which has gone blind fails too. A failure names the file,
//! the line and the mend.
//!
//! No parser is used: the sources are split into tokens with comments and strings taken out, which
//! is enough for every rule and needs no dependency.

mod adapters;
mod config;
mod docs;
mod hygiene;
mod layers;
mod migrations;
mod packaging;
mod peers;
mod size;
mod source;
mod sql;
mod tree;
