//! How the program ends, and what it says then: each exit code, and each kind of bad input.
