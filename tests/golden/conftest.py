"""Nothing here is a test: two scripts need frameworks that the tests do not, and the rest has no examples to run."""

collect_ignore_glob = ["*.py"]
