"""The gateway between browsers and sandboxes: tasks, their logs, and who watches them."""
