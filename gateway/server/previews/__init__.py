"""A reverse proxy for the web sites of tasks: requests for their preview hosts go to the sandboxes that serve them."""
