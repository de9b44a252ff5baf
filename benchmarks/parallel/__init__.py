"""What the question `sharding` is made of: ways to use several devices, and what each exchanges and costs."""
