//! Parts become phones, phones are sold and repaired.
