"""Three ways to use a page: a mouse, the keyboard alone, and a browser without scripts."""

from playwright.sync_api import Locator, Page


class Mouse:
    """What most people do."""

    scripts = True

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, target: Locator) -> None:
        target.click()

    def choose(self, target: Locator) -> None:
        target.check()

    def write(self, target: Locator, text: str) -> None:
        target.fill(text)


class NoScripts(Mouse):
    """A mouse, where scripts are blocked."""

    scripts = False


class Keyboard(Mouse):
    """Nothing but keys: what cannot be reached by Tab cannot be used."""

    def press(self, target: Locator) -> None:
        self._reach(target)
        self.page.keyboard.press("Enter")

    def choose(self, target: Locator) -> None:
        self._reach(target)
        self.page.keyboard.press("Space")

    def write(self, target: Locator, text: str) -> None:
        self._reach(target)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def _reach(self, target: Locator) -> None:
        target.wait_for()
        wanted = target.element_handle()
        for _ in range(120):
            state = wanted.evaluate(
                """(wanted) => {
                    const now = document.activeElement;
                    if (now === wanted) return "there";
                    const radios = wanted.type === "radio" && now?.type === "radio" && now.name === wanted.name;
                    return radios ? "beside" : "on";
                }"""
            )
            if state == "there":
                return
            self.page.keyboard.press("ArrowDown" if state == "beside" else "Tab")
        raise AssertionError(f"Tab does not lead to {target}.")
