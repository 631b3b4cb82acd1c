"""`python -m modeling_zen.conversion SOURCE OUT`: convert a foreign checkpoint into a ZEN folder."""

import argparse
from collections.abc import Sequence

from . import FAMILIES, convert_checkpoint


def make_parser() -> argparse.ArgumentParser:
    """Arguments as those of `convert_checkpoint`."""
    families = "\n".join(f"  {name:26} {family.summary}" for name, family in sorted(FAMILIES.items()))
    parser = argparse.ArgumentParser(
        prog="python -m modeling_zen.conversion",
        description="Convert a foreign checkpoint into a ZEN folder. It computes the same numbers, or it is refused.",
        epilog=f"families:\n{families}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="folder of transformers or timm, Hub id, or file of weights")
    parser.add_argument("out", help="folder to write; must not exist or be empty")
    parser.add_argument("--family", help="needed for a file; config.json tells it otherwise")
    parser.add_argument("--num-heads", type=int, help="attention heads, where no published size and no config tells")
    parser.add_argument("--num-register-tokens", type=int, help="how many the file rightly has, if not as its family")
    parser.add_argument("--image-size", type=int, nargs="+", help="pixels that the learned positions belong to")
    parser.add_argument("--branch", help="which encoder of several, such as teacher")
    parser.add_argument("--revision", help="commit on the Hub")
    parser.add_argument("--image-mean", type=float, nargs=3, help="of pixels in 0 to 1, where the source does not say")
    parser.add_argument("--image-std", type=float, nargs=3, help="the same")
    parser.add_argument("--licence", help="of the weights, where the source does not say")
    parser.add_argument("--accept-noncommercial", action="store_true", help="your use of such weights is allowed")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert, save and say what was done; a refusal is one sentence and exit status 2."""
    parser = make_parser()
    options = vars(parser.parse_args(arguments))
    source, out, family, size = (options.pop(name) for name in ("source", "out", "family", "image_size"))
    try:
        conversion = convert_checkpoint(
            source, family, image_size=size[0] if size and len(size) == 1 else size, **options
        )
        conversion.save(out)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    report = conversion.report
    keys = report["keys"]
    print(f"{report['source']} ({report['family']}, licence {report['licence']}) is now {out}")
    print(f"{keys['mapped']} weights became {keys['filled']}; dropped: {', '.join(keys['dropped']) or 'none'}")
    for note in report["notes"]:
        print(f"note: {note}")


if __name__ == "__main__":
    main()
