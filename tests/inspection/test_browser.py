"""The pages in a real browser, and the projector of a real TensorBoard."""

import shutil
import urllib.request
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

import lightning_collab
from benchmarks.browser import PROJECTOR, open_projector, patiently, serving_tensorboard
from lightning_collab.inspection.embeddings import read_projector_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def logdir(film_run, tmp_path_factory) -> Path:
    """Two runs in subfolders, as `outputs/` has them."""
    outputs = tmp_path_factory.mktemp("outputs")
    for name in ("one", "two"):
        shutil.copytree(film_run.directory.path, outputs / "train" / name)
    return outputs


@pytest.fixture(scope="module")
def tensorboard(logdir):
    """The address of a TensorBoard of these runs."""
    with serving_tensorboard(logdir) as address:
        yield address


def wait(condition):
    assert patiently(condition)


def errors(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def projector(browser, tensorboard):
    """The projector page of TensorBoard, with the points of the first tag loaded."""
    open_projector(browser, tensorboard)
    return browser


def ask(window, code):
    return window.execute_script(PROJECTOR + code)


def test_the_projector_lists_every_tag_of_every_run(projector, logdir):
    runs = ask(projector, "return p.dataPanel.runNames")
    assert sorted(runs) == ["train/one/tensorboard", "train/two/tensorboard"]
    listed = ask(projector, "return p.dataPanel.tensorNames.map(t => t.name)")
    config = read_projector_config(logdir / "train/one/tensorboard/projector_config.pbtxt")
    assert sorted(listed) == sorted(each.tensor_name for each in config.embeddings)
    assert {"items/epoch_001", "items/epoch_007", "users/checkpoint_best"} <= set(listed)


def choose(window, tag, points):
    """Choose a tag as the list does, and wait until its points are projected."""
    ask(window, f"p.dataPanel.selectedTensor = '{tag}'")
    ready = f"return p.dataSet?.points?.length === {points} && p.projection?.dataSet === p.dataSet"
    wait(lambda: ask(window, ready))


def test_points_of_each_tag_are_drawn(projector):
    for tag, points in (
        ("items/checkpoint_best", 46),
        ("users/epoch_003", 60),
        ("items/epoch_001", 45),
    ):
        choose(projector, tag, points)
        # Without its points a frame has only the three axes.
        show_points(projector, "false")
        axes = colored_pixels(projector)
        show_points(projector, "true")
        wait(lambda axes=axes, points=points: colored_pixels(projector) > axes + 10 * points)


def show_points(window, visible):
    parts = "p.projectorScatterPlotAdapter.scatterPlot.scene.children"
    ask(window, f"{parts}.filter(c => c.type === 'Points').forEach(c => c.visible = {visible})")


def colored_pixels(window):
    """Pixels of the drawing that are not background, read back from a rendered frame."""
    code = """
    p.projectorScatterPlotAdapter.render();
    const canvas = p.projectorScatterPlotAdapter.scatterPlot.renderer.domElement;
    const copy = document.createElement('canvas');
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext('2d');
    context.drawImage(canvas, 0, 0);
    const data = context.getImageData(0, 0, copy.width, copy.height).data;
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] > 0 && Math.min(data[i], data[i + 1], data[i + 2]) < 200) count++;
    }
    return count;
    """
    return ask(window, code)


def test_search_finds_a_title(projector):
    choose(projector, "items/checkpoint_best", 46)
    box = ask(
        projector,
        "return p.inspectorPanel.searchBox.paperInput.shadowRoot.querySelector('input')"
        " ?? p.inspectorPanel.searchBox.paperInput.querySelector('input')",
    )
    box.send_keys("Star Wars")
    wait(lambda: ask(projector, "return p.selectedPointIndices.length") == 1)
    found = "return p.dataSet.points[p.selectedPointIndices[0]].metadata.title"
    assert ask(projector, found) == "Star Wars (1977)"


def test_a_click_on_the_bookmark_colors_by_genre(projector):
    choose(projector, "items/checkpoint_best", 46)
    labels = "return p.bookmarkPanel.savedStates.map(s => s.label)"
    wait(lambda: len(ask(projector, labels)) == 2)
    assert ask(projector, labels)[0] == "PCA colored by genre"
    ask(projector, "p.dataPanel.selectedColorOptionName = 'No color map'")
    button = "return p.bookmarkPanel.shadowRoot.querySelector('.state-radio') ?? "
    button += "p.bookmarkPanel.shadowRoot.querySelector('paper-icon-button, paper-radio-button')"
    ask(projector, button).click()
    color = "return p.dataPanel.selectedColorOptionName"
    wait(lambda: ask(projector, color) == "genre")
    legend = ask(projector, "return p.dataPanel.colorLegendRenderInfo.items.map(i => i.label)")
    assert sorted(legend) == ["Comedy", "Drama", "Horror"]
    assert ask(projector, "return p.projection.projectionType") == "pca"


def test_tensorboard_has_scalars_histograms_images_and_hparams(tensorboard):
    with urllib.request.urlopen(f"{tensorboard}/data/plugins_listing") as answer:
        listing = answer.read().decode()
    for plugin in ("scalars", "histograms", "images", "hparams", "projector"):
        assert f'"{plugin}"' in listing


@pytest.fixture
def report(browser, film_run):
    browser.switch_to.default_content()
    browser.get_log("browser")
    browser.get(film_run.directory.report_file.as_uri())
    return browser


def test_the_report_opens_without_an_error(report):
    assert report.title == "embedding_dot_bias on ml_100k"
    assert errors(report) == []
    pictures = report.find_elements(By.CSS_SELECTOR, "figure img")
    assert len(pictures) == 8
    assert all(int(picture.get_property("naturalWidth")) > 100 for picture in pictures)


def test_the_filter_and_the_search_of_the_report_work(report, film_run):
    root = report.find_element(By.CSS_SELECTOR, ".map")
    items = lightning_collab.load(film_run.directory.path).items

    def shown():
        return int(root.get_attribute("data-shown"))

    assert shown() == len(items)
    Select(root.find_element(By.TAG_NAME, "select")).select_by_value("Horror")
    horror = int(items["genres"].list.contains("Horror").sum())
    assert shown() == horror
    assert f"{horror} of {len(items)} shown" in root.text
    Select(root.find_element(By.TAG_NAME, "select")).select_by_value("")
    root.find_element(By.CSS_SELECTOR, "input[type=search]").send_keys("star")
    assert shown() == 2
    assert errors(report) == []


def test_hovering_shows_the_title(report):
    root = report.find_element(By.CSS_SELECTOR, ".map")
    root.find_element(By.CSS_SELECTOR, "input[type=search]").send_keys("Star Wars")
    canvas = root.find_element(By.TAG_NAME, "canvas")
    report.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    place = report.execute_script(
        "const map = JSON.parse(arguments[0].querySelector('script').textContent);"
        "const i = map.names.indexOf('Star Wars (1977)');"
        "return [map.x[i] * 0.94 + 0.03 - 0.5, map.y[i] * 0.94 + 0.03 - 0.5]",
        root,
    )
    across, down = place[0] * canvas.size["width"], place[1] * canvas.size["height"]
    ActionChains(report).move_to_element_with_offset(canvas, round(across), round(down)).perform()
    tip = root.find_element(By.CSS_SELECTOR, ".map-tip")
    wait(tip.is_displayed)
    assert tip.text.startswith("Star Wars (1977)")
    assert "ratings" in tip.text
