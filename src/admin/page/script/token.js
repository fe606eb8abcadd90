/* What needs the token: changes, and the data of events. The token is kept in this page alone, in no storage. */

const token = { text: null };

/** Asks whether it shall be done, and for the token if it is not known; null if not. `act` gets the header and says what came of it. */
function confirmed({ title, text, verb, act }) {
  const dialog = $("token-dialog"), field = $("token"), complaint = $("token-complaint"), before = document.activeElement;
  put($("token-title"), title);
  put($("token-text"), text);
  put($("token-do"), verb);
  put(complaint, "");
  field.value = "";
  const isKnown = known => { hide($("token-label"), known); hide($("token-forget"), !known); };
  isKnown(token.text != null);
  dialog.showModal();
  (token.text == null ? field : $("token-cancel")).focus();
  return new Promise(resolve => {
    const end = result => { dialog.close(); resolve(result); };
    const go = async () => {
      const shown = token.text ?? field.value.trim();
      if (!shown) { put(complaint, "The token is missing."); field.focus(); return; }
      $("token-do").disabled = true;
      try {
        const result = await act({ Authorization: `Bearer ${shown}` });
        token.text = shown;
        end(result);
      } catch (error) {
        // A token that is wrong is not kept.
        if (error.status === 403 || error.status === 401) { token.text = null; isKnown(false); }
        put(complaint, error.message);
      } finally {
        $("token-do").disabled = false;
      }
    };
    $("token-do").onclick = go;
    $("token-cancel").onclick = () => end(null);
    $("token-forget").onclick = () => { token.text = null; isKnown(false); field.focus(); };
    field.onkeydown = event => { if (event.key === "Enter") { event.preventDefault(); go(); } };
    dialog.oncancel = () => resolve(null);
    dialog.onclose = () => { field.value = ""; if (before?.isConnected) before.focus(); };
  });
}

/** Asks the admin API; what it refuses is an error with its words. */
async function api(path, options = {}) {
  const answer = await fetch("api/v1/" + path, { cache: "no-store", ...options });
  if (answer.ok) return answer;
  const error = new Error((await answer.text()).trim() || `it answers ${answer.status}`);
  error.status = answer.status;
  throw error;
}
const query = values => new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();
/** The lines of an answer, each an object. */
const objects = text => text.split("\n").filter(Boolean).map(line => JSON.parse(line));
