"""Who is sent away when there are too many visitors, and how listening ports are read."""

from sandbox_bridge.local.jail.ports import count_in_use, listening_ports
from sandbox_bridge.local.sites.visits import Visit, Visits


class Runner:
    """Remembers that it was told to go."""

    def __init__(self) -> None:
        self.is_gone = False

    def cancel(self) -> None:
        """Go."""
        self.is_gone = True


def crowd(visits: Visits, *sites: str) -> list[Runner]:
    """Visitors to `sites` one after another, none of whom moves."""
    runners = [Runner() for _ in sites]
    for moment, (site, runner) in enumerate(zip(sites, runners, strict=True)):
        visits.enter(Visit(site, runner, float(moment)))
    return runners


def test_one_too_many_at_a_site_displaces_its_quietest() -> None:
    """A site has a quarter of the places; its next visitor takes that of its own quietest."""
    runners = crowd(Visits(8), "other", "a", "a", "a")
    assert [runner.is_gone for runner in runners] == [False, True, False, False]


def test_one_too_many_in_all_displaces_from_the_busiest() -> None:
    """Where all places are taken, the site that has most gives one up."""
    runners = crowd(Visits(8), *"abcdef", "f", "g", "h")
    assert [index for index, runner in enumerate(runners) if runner.is_gone] == [5]


def test_visitor_who_left_makes_room() -> None:
    """A place that was given back displaces nobody."""
    visits, first = Visits(4), Runner()
    visit = Visit("a", first, 0.0)
    visits.enter(visit)
    visits.leave(visit)
    crowd(visits, "a")
    assert not first.is_gone


def test_listening_ports_are_read_from_whole_lines() -> None:
    """Only sockets in state listen count, and a line that was cut short does not."""
    head = "  sl  local_address rem_address   st tx_queue\n"
    lines = [
        "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000",
        "   1: 0100007F:1388 0100007F:0BB8 01 00000000:00000000",
        "   2: 00000000000000000000000001000000:0FA0 00000000000000000000000000000000:0000 0A 0",
        "   3: 0100007F:17",
    ]
    assert listening_ports(head + "\n".join(lines)) == {3000, 4000}


def test_sockets_in_use_are_counted() -> None:
    """Only the TCP lines of `sockstat` count."""
    lines = ["sockets: used 5", "TCP: inuse 3 orphan 0 tw 0", "TCP6: inuse 2", "UDP: inuse 9"]
    assert [count_in_use(line) for line in lines] == [0, 3, 2, 0]
