"""The actions a plan is made of, each a Prefect task; one file a system."""
