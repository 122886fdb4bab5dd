"""The command line ``semise``: the application, and what its commands share."""
