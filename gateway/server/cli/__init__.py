"""The command `gateway`: `app` has what each command takes, and each other module what some of them do."""
