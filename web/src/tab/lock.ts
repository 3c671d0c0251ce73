/** Of all tabs of a browser, one is the sandbox: a runtime takes much of a machine. */

const NAME = "gateway sandbox tab";

/** Resolves once this tab is the one; `onWait` is called where it has to wait for another to close. */
export async function become(onWait: () => void): Promise<void> {
  if (await tried({ ifAvailable: true })) return;
  onWait();
  await tried({});
}

/** Whether the lock was had; it is then held as long as the page lives. */
function tried(options: LockOptions): Promise<boolean> {
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(NAME, options, (lock) => {
        resolve(lock !== null);
        return lock === null ? undefined : new Promise<never>(() => {});
      })
      .catch(reject);
  });
}
