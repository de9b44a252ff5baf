"""The engines that run recurrences, independent of any cell."""
