import cv2
import numpy as np

from training.corpus.perceptual_hash import perceptual_hash


def hash_of(frame: np.ndarray) -> int:
    return perceptual_hash(cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA))


def distance(first: np.ndarray, second: np.ndarray) -> int:
    return (hash_of(first) ^ hash_of(second)).bit_count()


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8), dtype=np.uint8)
    return cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)


def test_bits_are_the_signs_of_the_coefficients_against_their_median():
    # One horizontal wave: of all 64 coefficients only (row 0, column 2) stands out, which is bit 2.
    columns = np.cos(np.pi * (np.arange(32) + 0.5) * 2 / 32)
    wave = np.tile(127.5 + 100 * columns, (32, 1)).round().astype(np.uint8)
    assert perceptual_hash(wave) >> 2 & 1
    coefficients = cv2.dct(wave.astype(np.float32))[:8, :8].ravel()
    bits = coefficients > np.median(coefficients[1:])
    assert perceptual_hash(wave) == sum(int(bit) << index for index, bit in enumerate(bits) if index)


def test_size_coding_and_brightness_change_few_bits_and_another_picture_half():
    frame = picture(0)
    coded = cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)
    for same in (coded, cv2.resize(frame, (160, 120)), cv2.convertScaleAbs(frame, alpha=0.8, beta=10)):
        assert distance(frame, same) <= 4
    assert np.mean([distance(picture(a), picture(b)) for a in range(8) for b in range(8, 16)]) > 24


def test_it_is_64_bits_and_of_a_flat_picture_too():
    assert hash_of(np.full((10, 10), 7, np.uint8)) == hash_of(np.full((90, 50), 7, np.uint8))
    assert 0 <= hash_of(picture(3)) < 2**64
