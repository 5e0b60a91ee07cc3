"""One module for each benchmark; each has ``run(plan)``, which yields rows."""
