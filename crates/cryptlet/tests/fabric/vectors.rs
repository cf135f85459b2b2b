//! Test vectors of the specifications.
