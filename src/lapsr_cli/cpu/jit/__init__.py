"""Functions written down for LLVM and compiled while the program runs."""
