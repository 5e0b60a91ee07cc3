"""Speed and memory, each beside a peer or a bound measured in the same run. ``make bench`` prints the table."""
