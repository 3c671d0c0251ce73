# Thin names for ./dev, which does the work and also runs where make is missing.
# Arguments go through ARGS: make run ARGS="--port 9000", make test ARGS="-k replay".
.POSIX:
.PHONY: run test check format fleet chaos bench bench-quick audit conformance lock clean help

run test check format fleet chaos bench bench-quick audit conformance lock clean help:
	@exec ./dev $@ $(ARGS)
