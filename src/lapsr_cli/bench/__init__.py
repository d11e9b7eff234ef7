"""How fast and how good, on this machine: measurements, their results, and the page that shows
them. It calls the upscaler and the batch engine, and owns no inference of its own."""
