"""Ways to run a recurrence; they know no cell."""
