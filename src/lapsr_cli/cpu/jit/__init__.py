"""A small language for vector code, compiled with LLVM at run time."""
