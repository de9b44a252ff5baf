"""The guide, and what makes the generated pages."""
