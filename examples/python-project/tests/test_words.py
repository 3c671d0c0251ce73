"""What `words` promises."""

import unittest

from words import count


class CountTest(unittest.TestCase):
    """Counting words."""

    def test_counts_each_word(self) -> None:
        """A word counts as often as it comes."""
        self.assertEqual(count("a rose is a rose")["rose"], 2)

    def test_takes_no_notice_of_case(self) -> None:
        """`Rose` and `rose` are one word."""
        self.assertEqual(count("Rose rose")["rose"], 2)
