"""One file a family of cells: constructor, parameters, carry, pointwise maths."""
