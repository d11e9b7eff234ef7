"""How good a picture is: one metric a file, and the papers' protocol around them."""
