"""Curves as SVG, drawn by hand so that the same figures give the same bytes."""

from html import escape

WIDTH, HEIGHT = 400, 300
LEFT, TOP, RIGHT, BOTTOM = 46, 34, 12, 44
COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98", "#566573")


def curves(panels, x_name, y_name, x_range, y_range):
    """`panels`: title → curve's name → points. One panel beside the other, one legend below."""
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    width = WIDTH * len(panels)
    height = HEIGHT + 20 * (-(-len(names) // 3)) + 8
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, (title, panel) in enumerate(panels.items()):
        out.append(f'<g transform="translate({number * WIDTH} 0)">')
        out += _axes(title, x_name, y_name, x_range, y_range)
        # The first curve is drawn last, on top.
        for name in reversed(list(panel)):
            out += _curve(panel[name], colours[name], x_range, y_range, thick=name == names[0])
        out.append("</g>")
    for number, name in enumerate(names):
        x, y = 46 + (number % 3) * (width - 60) // 3, HEIGHT + 20 * (number // 3) + 10
        out.append(f'<path d="M{x} {y}h22" stroke="{colours[name]}" stroke-width="{3 if number == 0 else 1.8}"/>')
        out.append(f'<text x="{x + 28}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _place(point, x_range, y_range):
    (x, y), (x_least, x_most), (y_least, y_most) = point, x_range, y_range
    across = LEFT + (x - x_least) / (x_most - x_least) * (WIDTH - LEFT - RIGHT)
    down = HEIGHT - BOTTOM - (y - y_least) / (y_most - y_least) * (HEIGHT - TOP - BOTTOM)
    return across, down


def _axes(title, x_name, y_name, x_range, y_range):
    yield f'<text x="{LEFT}" y="20" font-weight="bold">{escape(title)}</text>'
    for y in range(int(y_range[0]), int(y_range[1]) + 1):
        across, down = _place((x_range[0], y), x_range, y_range)
        yield f'<path d="M{across:.1f} {down:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{across - 8:.1f}" y="{down + 4:.1f}" text-anchor="end">{y}</text>'
    for x in range(int(x_range[0]), int(x_range[1]) + 1, 20):
        across, down = _place((x, y_range[0]), x_range, y_range)
        yield f'<path d="M{across:.1f} {down:.1f}v4" stroke="#333"/>'
        yield f'<text x="{across:.1f}" y="{down + 18:.1f}" text-anchor="middle">{x}</text>'
    yield f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{escape(x_name)}</text>'
    yield f'<text x="12" y="{HEIGHT // 2}" transform="rotate(-90 12 {HEIGHT // 2})" text-anchor="middle">{escape(y_name)}</text>'


def _curve(points, colour, x_range, y_range, thick):
    places = [_place(point, x_range, y_range) for point in points]
    path = "L".join(f"{across:.1f} {down:.1f}" for across, down in places)
    yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{3 if thick else 1.8}"/>'
    for across, down in places:
        yield f'<circle cx="{across:.1f}" cy="{down:.1f}" r="{4 if thick else 3}" fill="{colour}"/>'
