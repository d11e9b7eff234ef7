"""Facts about the machine: devices, memory, copies, processor features."""
