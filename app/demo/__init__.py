"""`redline demo`: the sample loaded, monitored and dispatched, for a look at the whole street."""
