//! `bletchley token`.
