"""A third party's format: this record is all that w2e-bridge needs to know of it."""

from w2e_bridge.formats.spec import Format, Option

FORMAT = Format(
    name="toy",
    title="Toy (tests)",
    suffixes=(".toy",),
    magic=((0, b"TOY1"),),
    lift="w2e_toy.codec:lift",
    lower="w2e_toy.codec:lower",
    profiles="w2e_toy.codec:profiles",
    encodings="w2e_toy.codec:encodings",
    inspect="w2e_toy.codec:inspect",
    options=(
        Option(name="color", help="Colour of the toy.", choices=("red", "green"), default="red"),
        Option(name="loud", help="Squeak.", flag=True, default=False),
        Option(name="lenient", help="Accept old toys.", flag=True, default=False, side="lift"),
    ),
)
