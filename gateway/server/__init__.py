"""The process: wires everything, serves HTTP, and is started from the command line."""
